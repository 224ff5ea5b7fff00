// The DMA engine of `edu`: moves `count` bytes between memory and the device's buffer of 4,096 bytes, whatever their
// alignment. A transfer that is not wholly inside the buffer moves nothing.
//
// Bursts are of 64-bit beats, as long as AXI4 allows and never across a multiple of 4,096. The next address is given while
// the data of the burst before is still under way.
module edu_dma (
    input  wire        clk,
    input  wire        rst_n,

    input  wire        start,
    input  wire        to_memory,
    input  wire [63:0] memory,
    input  wire [63:0] device,
    input  wire [63:0] count,
    output reg         done,

    output wire [63:0] m_axi_araddr,
    output wire [7:0]  m_axi_arlen,
    output wire        m_axi_arvalid,
    input  wire        m_axi_arready,
    input  wire [63:0] m_axi_rdata,
    input  wire        m_axi_rvalid,
    output wire        m_axi_rready,
    output wire [63:0] m_axi_awaddr,
    output wire [7:0]  m_axi_awlen,
    output wire        m_axi_awvalid,
    input  wire        m_axi_awready,
    output wire [63:0] m_axi_wdata,
    output wire [7:0]  m_axi_wstrb,
    output wire        m_axi_wlast,
    output wire        m_axi_wvalid,
    input  wire        m_axi_wready,
    input  wire        m_axi_bvalid,
    output wire        m_axi_bready
);

  localparam [63:0] BUFFER_START = 64'h40000;
  localparam [63:0] BUFFER_SIZE = 64'd4096;

  wire fits = device >= BUFFER_START && device - BUFFER_START <= BUFFER_SIZE
      && count <= BUFFER_SIZE - (device - BUFFER_START);

  // What has to be addressed yet, and what has to be moved yet.
  reg         reading, writing;
  reg  [63:0] next_address;
  reg  [12:0] to_address;
  reg  [63:0] at;
  reg  [12:0] to_move;
  reg  [12:0] index;
  // Bursts of the write that are not answered yet, and the beats left of those whose data is under way.
  reg  [3:0]  unanswered;
  reg  [3:0]  burst_count;
  reg  [8:0]  burst_beats [0:7];
  reg  [2:0]  burst_head, burst_tail;
  reg  [8:0]  beat;

  // The next burst: up to 256 beats, up to the next multiple of 4,096.
  wire [12:0] to_boundary = 13'd4096 - {1'b0, next_address[11:0]};
  wire [12:0] in_burst = 13'd2048 - {10'd0, next_address[2:0]};
  wire [12:0] limit = to_boundary < in_burst ? to_boundary : in_burst;
  wire [12:0] bytes = to_address < limit ? to_address : limit;
  wire [12:0] span = bytes + {10'd0, next_address[2:0]} + 13'd7;
  wire [8:0]  beats = span[11:3];
  wire        addressing = to_address != 13'd0 && burst_count < 4'd4;

  assign m_axi_araddr = next_address;
  assign m_axi_arlen = beats[7:0] - 8'd1;
  assign m_axi_arvalid = reading && addressing;
  assign m_axi_awaddr = next_address;
  assign m_axi_awlen = beats[7:0] - 8'd1;
  assign m_axi_awvalid = writing && addressing;
  assign m_axi_bready = 1'b1;

  // The bytes of a beat: lanes from the address on, as many as there are.
  wire [2:0]  lane = at[2:0];
  wire [12:0] in_beat = 13'd8 - {10'd0, lane};
  wire [12:0] move = to_move < in_beat ? to_move : in_beat;

  assign m_axi_rready = reading && to_move != 13'd0;
  wire        read_beat = m_axi_rvalid && m_axi_rready;

  assign m_axi_wvalid = writing && burst_count != 4'd0 && to_move != 13'd0;
  assign m_axi_wlast = beat + 9'd1 == burst_beats[burst_head];
  wire        write_beat = m_axi_wvalid && m_axi_wready;

  wire [7:0]  lanes = 8'hff << lane;
  wire [3:0]  beyond = {1'b0, lane} + move[3:0];
  wire [7:0]  ends = beyond[3] ? 8'hff : (8'd1 << beyond[2:0]) - 8'd1;
  assign m_axi_wstrb = lanes & ends;

  // The buffer, in eight banks: bank b has the bytes whose index is b modulo 8. Lane i of a beat is byte
  // index + i - lane, so that bank b belongs to lane b + lane - index, modulo 8.
  wire [2:0]  turn = lane - index[2:0];
  wire [63:0] banked;
  genvar g;
  generate
    for (g = 0; g < 8; g = g + 1) begin : bank
      reg  [7:0]  cells [0:511];
      wire [2:0]  from_lane = g[2:0] + turn;
      wire [11:0] byte_index = index[11:0] + {9'd0, from_lane} - {9'd0, lane};
      wire        used = m_axi_wstrb[from_lane];
      assign banked[8*g+:8] = cells[byte_index[11:3]];
      always @(posedge clk) if (read_beat && used) cells[byte_index[11:3]] <= m_axi_rdata[8*from_lane+:8];
    end
    for (g = 0; g < 8; g = g + 1) begin : gather
      wire [2:0] from_bank = g[2:0] - turn;
      assign m_axi_wdata[8*g+:8] = m_axi_wstrb[g] ? banked[8*from_bank+:8] : 8'd0;
    end
  endgenerate

  wire addressed = (m_axi_arvalid && m_axi_arready) || (m_axi_awvalid && m_axi_awready);
  wire burst_done = (read_beat || write_beat) && beat + 9'd1 == burst_beats[burst_head];
  wire answered = m_axi_bvalid && writing;

  always @(posedge clk) begin
    done <= 1'b0;
    if (!rst_n) begin
      reading <= 1'b0;
      writing <= 1'b0;
      to_address <= 13'd0;
      to_move <= 13'd0;
      unanswered <= 4'd0;
      burst_count <= 4'd0;
      burst_head <= 3'd0;
      burst_tail <= 3'd0;
      beat <= 9'd0;
    end else if (start) begin
      if (!fits || count == 64'd0) done <= 1'b1;
      else begin
        reading <= !to_memory;
        writing <= to_memory;
        next_address <= memory;
        at <= memory;
        to_address <= count[12:0];
        to_move <= count[12:0];
        index <= device[12:0];
      end
    end else begin
      if (addressed) begin
        next_address <= next_address + {51'd0, bytes};
        to_address <= to_address - bytes;
        burst_beats[burst_tail] <= beats;
        burst_tail <= burst_tail + 3'd1;
      end
      if (read_beat || write_beat) begin
        at <= at + {51'd0, move};
        to_move <= to_move - move;
        index <= index + move;
        beat <= burst_done ? 9'd0 : beat + 9'd1;
        if (burst_done) burst_head <= burst_head + 3'd1;
      end
      burst_count <= burst_count + {3'd0, addressed} - {3'd0, burst_done};
      unanswered <= unanswered + {3'd0, m_axi_awvalid && m_axi_awready} - {3'd0, answered};

      if (reading && to_move == 13'd0) begin
        reading <= 1'b0;
        done <= 1'b1;
      end
      // Memory has the last byte when the last burst is answered.
      if (writing && to_move == 13'd0 && to_address == 13'd0 && unanswered == 4'd0) begin
        writing <= 1'b0;
        done <= 1'b1;
      end
    end
  end

endmodule
