// Memory to stream: reads the bytes of a job in bursts and packs them into full beats of the stream, whatever their
// alignment. A packet goes on over several jobs; only its last beat is not full.
module axi_dma_mm2s (
    input  wire        clk,
    input  wire        rst_n,

    input  wire        job_start,
    input  wire [63:0] job_address,
    input  wire [25:0] job_length,
    input  wire        job_ends_packet,
    input  wire        abort,
    output wire        busy,
    output reg         job_done,
    output wire [25:0] job_moved,
    output wire [1:0]  job_error,

    output wire [63:0] m_axi_araddr,
    output wire [7:0]  m_axi_arlen,
    output wire [2:0]  m_axi_arsize,
    output wire [1:0]  m_axi_arburst,
    output wire        m_axi_arvalid,
    input  wire        m_axi_arready,
    input  wire [63:0] m_axi_rdata,
    input  wire [1:0]  m_axi_rresp,
    input  wire        m_axi_rlast,
    input  wire        m_axi_rvalid,
    output wire        m_axi_rready,

    output reg  [63:0] m_axis_tdata,
    output reg  [7:0]  m_axis_tkeep,
    output reg         m_axis_tlast,
    output reg         m_axis_tvalid,
    input  wire        m_axis_tready
);

  reg         active, flushing;
  reg  [63:0] next_address;
  reg  [25:0] to_address, to_move;
  reg  [2:0]  lane;
  reg  [2:0]  bursts;
  reg  [1:0]  error;
  // Bytes that do not fill a beat yet.
  reg  [63:0] hold;
  reg  [3:0]  held;

  wire [12:0] to_boundary = 13'd4096 - {1'b0, next_address[11:0]};
  wire [12:0] in_burst = 13'd2048 - {10'd0, next_address[2:0]};
  wire [12:0] limit = to_boundary < in_burst ? to_boundary : in_burst;
  wire [12:0] bytes = to_address < {13'd0, limit} ? to_address[12:0] : limit;
  wire [12:0] span = bytes + {10'd0, next_address[2:0]} + 13'd7;

  // A burst that was offered stays offered until it is taken.
  reg         offered;
  assign m_axi_araddr = next_address;
  assign m_axi_arlen = span[10:3] - 8'd1;
  assign m_axi_arsize = 3'd3;
  assign m_axi_arburst = 2'b01;
  assign m_axi_arvalid = active && to_address != 26'd0 && (offered || (bursts < 3'd4 && !stopping));
  wire        addressed = m_axi_arvalid && m_axi_arready;

  // After an error or an abort the beats that are on their way are taken and dropped.
  wire        stopping = abort || error != 2'd0;
  wire        room = !m_axis_tvalid || m_axis_tready;
  assign m_axi_rready = active && bursts != 3'd0 && (stopping || (room && !flushing));
  wire        beat = m_axi_rvalid && m_axi_rready;
  wire        burst_done = beat && m_axi_rlast;

  wire [3:0]  in_lanes = 4'd8 - {1'b0, lane};
  wire [3:0]  count = to_move < {22'd0, in_lanes} ? to_move[3:0] : in_lanes;
  wire        last_beat = to_move == {22'd0, count};
  wire [63:0] fresh = m_axi_rdata >> {lane, 3'd0};
  wire [4:0]  total = {1'b0, held} + {1'b0, count};
  wire [127:0] joined = {64'd0, hold & ~({64{1'b1}} << {held, 3'd0})} | ({64'd0, fresh & keepBytes(count)} << {held, 3'd0});

  assign busy = active;
  assign job_moved = job_length;
  assign job_error = error;

  wire        finished = active && bursts == 3'd0 && (stopping ? !offered : !flushing && to_move == 26'd0 && to_address == 26'd0);

  always @(posedge clk) begin
    job_done <= 1'b0;
    if (!rst_n) begin
      active <= 1'b0;
      flushing <= 1'b0;
      offered <= 1'b0;
      bursts <= 3'd0;
      held <= 4'd0;
      hold <= 64'd0;
      error <= 2'd0;
      m_axis_tvalid <= 1'b0;
    end else begin
      if (m_axis_tready) m_axis_tvalid <= 1'b0;
      if (job_start) begin
        active <= 1'b1;
        next_address <= job_address;
        lane <= job_address[2:0];
        to_address <= job_length;
        to_move <= job_length;
        error <= 2'd0;
      end
      offered <= m_axi_arvalid && !m_axi_arready;
      if (addressed) begin
        next_address <= next_address + {51'd0, bytes};
        to_address <= to_address - {13'd0, bytes};
      end
      bursts <= bursts + {2'd0, addressed} - {2'd0, burst_done};
      if (beat) begin
        if (m_axi_rresp != 2'd0 && error == 2'd0) error <= m_axi_rresp;
        else if (!stopping) begin
          lane <= 3'd0;
          to_move <= to_move - {22'd0, count};
          if (total >= 5'd8) begin
            send(joined[63:0], 4'd8, last_beat && job_ends_packet && total == 5'd8);
            hold <= joined[127:64];
            held <= total[3:0] - 4'd8;
            flushing <= last_beat && job_ends_packet && total != 5'd8;
          end else if (last_beat && job_ends_packet) begin
            send(joined[63:0], total[3:0], 1'b1);
            held <= 4'd0;
          end else begin
            hold <= joined[63:0];
            held <= total[3:0];
          end
        end
      end else if (flushing && room) begin
        send(hold, held, 1'b1);
        held <= 4'd0;
        flushing <= 1'b0;
      end
      if (finished) begin
        active <= 1'b0;
        // After an error or an abort there is no packet to be ended.
        if (stopping) flushing <= 1'b0;
        job_done <= 1'b1;
      end
    end
  end

  function [63:0] keepBytes(input [3:0] number);
    keepBytes = number[3] ? {64{1'b1}} : (64'd1 << {number[2:0], 3'd0}) - 64'd1;
  endfunction

  task send(input [63:0] data, input [3:0] number, input last);
    begin
      m_axis_tvalid <= 1'b1;
      m_axis_tdata <= data & keepBytes(number);
      m_axis_tkeep <= number[3] ? 8'hff : (8'd1 << number[2:0]) - 8'd1;
      m_axis_tlast <= last;
    end
  endtask

endmodule
